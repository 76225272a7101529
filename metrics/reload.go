package metrics

import "github.com/prometheus/client_golang/prometheus"

// reloads tells of the configuration.
type reloads struct {
	ok prometheus.Gauge
	at prometheus.Gauge
}

// newReloads returns those of a configuration that was just read.
func newReloads() *reloads {
	r := &reloads{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goapi_config_last_reload_successful", Help: "1 if the configuration was taken over when it was last read, else 0.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "goapi_config_last_reload_success_timestamp_seconds", Help: "When the configuration was last taken over, in seconds since 1970.",
		}),
	}
	r.ok.Set(1)
	r.at.SetToCurrentTime()
	return r
}

// Reloaded notes how a reload of the configuration went.
func (m *Metrics) Reloaded(ok bool) {
	if !ok {
		m.reloads.ok.Set(0)
		return
	}
	m.reloads.ok.Set(1)
	m.reloads.at.SetToCurrentTime()
}
