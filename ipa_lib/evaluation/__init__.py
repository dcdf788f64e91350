"""FID, IS, KID and identity with their intervals, and the judges behind them."""
