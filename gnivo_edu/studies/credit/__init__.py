"""Which step went wrong: credits of trained models, beside rollouts and the exact ones."""
