package main

import (
	"testing"

	"github.com/ambit-iam/ambit/engine"
)

func BenchmarkLoad(b *testing.B) {
	c := company{users: 30_000}
	for b.Loop() {
		if _, err := engine.Load(c.objects(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkObjects(b *testing.B) {
	c := company{users: 30_000}
	n := 0
	for b.Loop() {
		for range c.objects() {
			n++
		}
	}
}
