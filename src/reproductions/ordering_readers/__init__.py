"""How far the edges that readers infer can be trusted: measured where the true graph is known from elsewhere."""
