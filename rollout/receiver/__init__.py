"""Takes alerts over HTTP from whoever may send them. What is done about them is done elsewhere."""
