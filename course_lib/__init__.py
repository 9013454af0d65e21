"""Human pose estimation."""
