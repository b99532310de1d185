"""A request on its way: what is asked, one attempt at it, both tiers, and the flow to an answer."""
