import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # brute.py, the plain-Python ground truth
