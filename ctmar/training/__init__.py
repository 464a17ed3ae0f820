"""How networks are fitted: the only Lightning modules."""
