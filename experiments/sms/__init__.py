"""The stages of SMS, a command each, and the figures that they tell; `pictures` has what they draw."""
