"""Which contacts harm, and which action dimension drives them."""
