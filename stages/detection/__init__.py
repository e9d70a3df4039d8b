"""The built-in task: finding and naming shapes with an anchor-free detector."""
