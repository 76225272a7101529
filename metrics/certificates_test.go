package metrics_test

import (
	"testing"
	"time"

	"github.com/goapi-dev/goapi/metrics"
)

// TestCertificatesAndTables: when certificates end, how long tables take, and how
// reloads went.
func TestCertificatesAndTables(t *testing.T) {
	end := time.Unix(2_000_000_000, 0)
	m := metrics.New(&metrics.Options{Certificates: func() map[string]time.Time { return map[string]time.Time{"edge.pem": end} }})
	m.TableUpdated(20 * time.Millisecond)
	m.Reloaded(false)
	got := scrape(t, m)
	for series, want := range map[string]float64{
		`goapi_certificate_not_after_timestamp_seconds{certificate="edge.pem"}`: 2_000_000_000,
		`goapi_table_update_seconds_count`:                                      1,
		`goapi_table_update_seconds_sum`:                                        0.02,
		`goapi_config_last_reload_successful`:                                   0,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
	m.Reloaded(true)
	if got := scrape(t, m)["goapi_config_last_reload_successful"]; got != 1 {
		t.Errorf("after a reload that went well: %v, want 1", got)
	}
}
