"""How any network here is trained: the loop with its averages and states, its log, how many iterations a time takes."""
