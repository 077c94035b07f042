//go:build !linux

package engine

// inHugePages is a hint that only Linux takes.
func inHugePages[T any]([]T) {}
