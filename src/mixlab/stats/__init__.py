"""Statistics: estimates, intervals, paired comparison. numpy and scipy only."""
