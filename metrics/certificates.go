package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificates tells when those of the server end.
type certificates struct {
	ends  func() map[string]time.Time
	until *prometheus.Desc
}

func newCertificates(ends func() map[string]time.Time) *certificates {
	return &certificates{ends, prometheus.NewDesc(
		"goapi_certificate_not_after_timestamp_seconds", "When a certificate of the server ends, in seconds since 1970.", []string{"certificate"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(ch chan<- *prometheus.Desc) { ch <- c.until }

// Collect implements prometheus.Collector.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	for name, end := range c.ends() {
		ch <- prometheus.MustNewConstMetric(c.until, prometheus.GaugeValue, float64(end.Unix()), text(name))
	}
}
