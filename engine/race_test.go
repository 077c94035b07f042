//go:build race

package engine_test

// usually is how many questions are compared when nobody says. With the race
// detector each takes ten times as long.
const usually = 15_000
