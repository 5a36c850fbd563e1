"""Figures of values and credits: one description, three outputs (HTML, PNG, plain text)."""

from gnivo_edu.figures.credit import CreditStrips, credit_strips
from gnivo_edu.figures.waterfall import Waterfall, waterfall

__all__ = ["CreditStrips", "Waterfall", "credit_strips", "waterfall"]
