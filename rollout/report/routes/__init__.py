"""Routes for people and machines, and in the forms of other gateways, which keep fewer promises than ours."""
