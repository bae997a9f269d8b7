"""What int8 costs: forecasts of any back end, compared and reported."""
