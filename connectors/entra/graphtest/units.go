package graphtest

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// cost is what a request costs in resource units (Rule GRAPH-25).
func cost(path string, r *http.Request) int {
	units := 1
	parts := strings.Split(path, "/")
	switch {
	case collection(path) != "":
	case len(parts) == 1 && parts[0] == "users":
		units = 2
	case len(parts) == 3 && parts[0] == "groups" && parts[2] == members:
		units = 3
	}
	if r.Form.Get("$select") != "" {
		units--
	}
	if r.Form.Get("$expand") != "" {
		units++
	}
	if n, err := strconv.Atoi(r.Form.Get("$top")); err == nil && n < 20 {
		units--
	}
	return max(units, 1)
}

// bucket fills up with the limit in ten seconds.
type bucket struct {
	limit, left float64 // units; a limit of 0 is none
	at          time.Time
}

const fills = 10 * time.Second

// take takes units out, or answers that there are too few.
func (b *bucket) take(units int, now time.Time) (answer, bool) {
	if b.limit == 0 {
		return answer{}, true
	}
	b.left = min(b.limit, b.left+b.limit*now.Sub(b.at).Seconds()/fills.Seconds())
	b.at = now
	if missing := float64(units) - b.left; missing > 0 {
		a := refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
		a.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(missing/b.limit*fills.Seconds()))))
		a.header.Set("x-ms-throttle-scope", "Tenant_Application/ReadWrite/"+ClientID)
		a.header.Set("x-ms-throttle-information", "CPULimitExceeded")
		return a, false
	}
	b.left -= float64(units)
	return answer{}, true
}

// tell says how much is used up, once that is much (Rule GRAPH-26).
func (b *bucket) tell(h http.Header) {
	if b.limit == 0 {
		return
	}
	if used := 1 - b.left/b.limit; used >= 0.8 {
		h.Set("x-ms-throttle-limit-percentage", strconv.FormatFloat(used, 'f', 2, 64))
	}
}
