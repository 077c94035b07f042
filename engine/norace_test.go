//go:build !race

package engine_test

// usually is how many questions are compared when nobody says: enough to notice
// what breaks. make test asks for 2,000,000.
const usually = 150_000
