"""What every run of a study imports: read once, by the process that all of them come from."""

from gnivo_edu import evaluation, objectives, policies, tasks, training

__all__ = ["evaluation", "objectives", "policies", "tasks", "training"]
