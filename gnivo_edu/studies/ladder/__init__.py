"""The GPU rung of the ladder: word problems, a school for a model, three methods, speeds."""
