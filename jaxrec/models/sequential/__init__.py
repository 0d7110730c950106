"""Models of what comes next in a sequence of items, all of which are scored: SASRec, BERT4Rec and FDSA."""
