"""What a step will need on chips that are not at hand: ahead-of-time compilation, counts and a roofline."""
