package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ambit-iam/ambit/tenant"
)

// metrics are what the HTTP side counts. Units are in the names (Rule UX-14).
type metrics struct {
	requests        *prometheus.HistogramVec
	decisions       *prometheus.CounterVec
	unauthenticated prometheus.Counter
}

func newMetrics(r *prometheus.Registry, t *tenant.Tenant) metrics {
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	make := promauto.With(r)
	make.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ambit_revision", Help: "The newest revision in memory.",
	}, func() float64 { return float64(t.Revision()) })
	make.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ambit_clock_lead_seconds", Help: "How far Ambit time is ahead of the wall clock.",
	}, func() float64 { return t.ClockLead().Seconds() })
	make.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ambit_store_age_seconds", Help: "Time since the store last confirmed that the newest revision is in memory.",
	}, func() float64 { return t.Age().Seconds() })
	return metrics{
		requests: make.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ambit_http_request_duration_seconds", Help: "Time to answer, by method, route and status.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 4, 9),
		}, []string{"method", "route", "status"}),
		decisions: make.NewCounterVec(prometheus.CounterOpts{
			Name: "ambit_decisions_total", Help: "Access decisions, by environment and reason.",
		}, []string{"environment", "reason"}),
		unauthenticated: make.NewCounter(prometheus.CounterOpts{
			Name: "ambit_unauthenticated_requests_total", Help: "Requests refused for their credentials.",
		}),
	}
}

// request counts an answer. The route is the pattern, never the path: paths hold
// ids, and there are too many of them.
func (m metrics) request(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	method := r.Method
	if !slices.Contains(methods[:], method) {
		method = "other" // a stranger can send any, and each is kept
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}
