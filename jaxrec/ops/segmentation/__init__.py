"""Operations on feature maps: grids, heatmaps, dynamic masks and the matching of relations to entities."""
