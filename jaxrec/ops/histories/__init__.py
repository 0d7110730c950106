"""Operations on behaviour histories: pooling, search, attention, recurrent units and memories."""
