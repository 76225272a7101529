package handler_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/goapi-dev/goapi/handler"
)

// TestCloudEventsTime takes what RFC 3339 calls a time, in a header and in JSON,
// and publishes one that all readers know.
func TestCloudEventsTime(t *testing.T) {
	tests := []struct{ time, want string }{ // want nothing: 400
		{"2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"},
		{"2020-01-01t00:00:00z", "2020-01-01T00:00:00Z"},
		{"2020-01-01t01:00:00.25+01:00", "2020-01-01T00:00:00.25Z"},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
		{"2016-12-31t23:59:60.5z", "2017-01-01T00:00:00.5Z"},
		{"1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z"},
		{"2012-07-01T09:29:60.999+09:30", "2012-07-01T00:00:00.999Z"},
		{"2016-12-31T23:58:60Z", ""},
		{"2016-12-31T22:59:60Z", ""},
		{"2016-12-30T23:59:60Z", ""},
		{"2016-12-31T23:59:60-08:00", ""},
		{"2016-12-31T23:60:00Z", ""},
		{"2016-12-31T23:59:61Z", ""},
		{"2016-12-31T23:59:60", ""},
		{"2016-12-31T23:59:60Zz", ""},
		{"2016-02-30T23:59:60Z", ""},
		{"9999-12-31T23:59:59-01:00", ""},
		{"9999-12-31T23:59:60Z", ""},
		{"0000-01-01T00:00:00+01:00", ""},
		{"2016-12-31T23:59:6\u0130", ""},
	}
	for _, tt := range tests {
		t.Run(tt.time, func(t *testing.T) {
			text, err := json.Marshal(tt.time)
			if err != nil {
				t.Fatal(err)
			}
			event := `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":` + string(text) + `}`
			for mode, request := range map[string][]string{
				"binary":     append([]string{""}, inHeaders("ce-time", tt.time)...),
				"structured": {event, "Content-Type", structuredType},
			} {
				b := new(tap)
				w := postEvent(handler.CloudEvents(b, nil), "/a", request[0], request[1:]...)
				if tt.want == "" {
					wantError(t, w, http.StatusBadRequest, "invalid CloudEvent: time: ")
					continue
				}
				acceptedID(t, w)
				var got struct{ Time string }
				if err := json.Unmarshal(b.only(t).Body, &got); err != nil || got.Time != tt.want {
					t.Errorf("%s: published with the time %q (%v), want %q", mode, got.Time, err, tt.want)
				}
			}
		})
	}
}
