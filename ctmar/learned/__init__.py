"""Methods with weights: a network as a method, files of weights, what is asked of a fitted one."""
