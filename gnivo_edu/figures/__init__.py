"""Figures of values and credits: one description, three outputs (HTML, PNG, plain text), and a
sentence for each.
"""

from gnivo_edu.figures.agreement import AgreementPlot, agreement_plot
from gnivo_edu.figures.atlas_map import AtlasMap, End, atlas_map
from gnivo_edu.figures.bars import bar_panels
from gnivo_edu.figures.credit import CreditStrips, credit_strips
from gnivo_edu.figures.curves import TrainingCurves, training_curves
from gnivo_edu.figures.distance import DistanceCurves, distance_curves
from gnivo_edu.figures.heatmap import HeatMap, heat_map
from gnivo_edu.figures.plane import Point, RewardKLPlane, policy_point, reward_kl_plane
from gnivo_edu.figures.prefix_tree import PrefixTree, prefix_tree
from gnivo_edu.figures.sample_map import SampleMap, sample_map
from gnivo_edu.figures.scaling import Fit, ScalingPlot, scaling_plot
from gnivo_edu.figures.slide import slide
from gnivo_edu.figures.style import Shown
from gnivo_edu.figures.token_strip import TokenStrip, token_strip
from gnivo_edu.figures.tree_picture import Branch
from gnivo_edu.figures.updates import UpdateStrips, update_strips
from gnivo_edu.figures.values import ValueLines, implicit_values, sampled_values, value_lines
from gnivo_edu.figures.waterfall import Waterfall, waterfall

__all__ = [
    "AgreementPlot",
    "AtlasMap",
    "Branch",
    "CreditStrips",
    "DistanceCurves",
    "End",
    "Fit",
    "HeatMap",
    "Point",
    "PrefixTree",
    "RewardKLPlane",
    "SampleMap",
    "ScalingPlot",
    "Shown",
    "TokenStrip",
    "TrainingCurves",
    "UpdateStrips",
    "ValueLines",
    "Waterfall",
    "agreement_plot",
    "atlas_map",
    "bar_panels",
    "credit_strips",
    "distance_curves",
    "heat_map",
    "implicit_values",
    "policy_point",
    "prefix_tree",
    "reward_kl_plane",
    "sample_map",
    "sampled_values",
    "scaling_plot",
    "slide",
    "token_strip",
    "training_curves",
    "update_strips",
    "value_lines",
    "waterfall",
]
