package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// syncCollector publishes where the synchronization stands (Rule SRC-9).
type syncCollector struct {
	sync                                                      *dirsync.Syncer
	age, objects, edges, pending, failures, problems, planned *prometheus.Desc
	requests, units, stale, unapplied                         *prometheus.Desc
}

// freshness makes the histogram of how old a change can have been when it was
// applied (Rule SRC-9).
func freshness(r *prometheus.Registry) func(directory.SourceID, time.Duration) {
	h := promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "ambit_sync_freshness_seconds",
		Help:    "From when a source told of a change, or else from the last complete round that did not see it, until questions were answered with it.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2, 18),
	}, []string{"source"})
	return func(id directory.SourceID, took time.Duration) { h.WithLabelValues(string(id)).Observe(took.Seconds()) }
}

func registerSync(r *prometheus.Registry, s *dirsync.Syncer) {
	bySource := []string{"source"}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ambit_source_"+name, help, labels, nil)
	}
	r.MustRegister(syncCollector{
		sync:      s,
		age:       desc("age_seconds", "Time since the source was last read completely.", bySource...),
		objects:   desc("objects", "Objects of the source in the mirror.", bySource...),
		edges:     desc("edges", "Memberships and ownerships of the source in the mirror.", bySource...),
		pending:   desc("pending_edges", "Edges that name something which is not there.", bySource...),
		failures:  desc("failures", "Rounds that failed since the last complete one.", bySource...),
		problems:  desc("problems", "What the last round could not take over.", bySource...),
		requests:  desc("requests_total", "Requests that reading the source has cost, of sources that count them.", bySource...),
		units:     desc("resource_units_total", "Of the source's own budget, what reading it has cost.", bySource...),
		stale:     desc("stale", "1 while the source has not been read completely for longer than stale_after.", bySource...),
		unapplied: desc("unapplied_seconds", "Age of the oldest change that was heard of and is not applied.", bySource...),
		planned:   prometheus.NewDesc("ambit_plan_held", "1 while a guard holds the newest plan.", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (c syncCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c syncCollector) Collect(ch chan<- prometheus.Metric) {
	status := c.sync.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, s := range status.Sources {
		if s.Usage != nil {
			counter(c.requests, s.Usage.Requests, string(s.Source))
			counter(c.units, s.Usage.Units, string(s.Source))
		}
		if !s.Completed.IsZero() {
			gauge(c.age, s.Age.Seconds(), string(s.Source))
		}
		stale, unapplied := 0.0, 0.0
		if s.Stale {
			stale = 1
		}
		if !s.Unapplied.IsZero() {
			unapplied = status.At.Sub(s.Unapplied).Seconds()
		}
		gauge(c.stale, stale, string(s.Source))
		gauge(c.unapplied, unapplied, string(s.Source))
		gauge(c.objects, float64(s.Objects), string(s.Source))
		gauge(c.edges, float64(s.Edges), string(s.Source))
		gauge(c.pending, float64(s.Pending), string(s.Source))
		gauge(c.failures, float64(s.Failures), string(s.Source))
		gauge(c.problems, float64(s.ProblemCount), string(s.Source))
	}
	held := 0.0
	if status.Plan.State == dirsync.PlanHeld {
		held = 1
	}
	gauge(c.planned, held)
}
