"""Hears of organic requests where AWS writes them down: model invocation logs and CloudWatch metrics."""
