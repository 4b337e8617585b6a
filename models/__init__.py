"""What kinds of customer there are: scaler, centroids, statistics, learners and the published model."""
