"""The tuner: TVM's MetaSchedule over the tunables of coded layers."""
