package metrics_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	dashboardFile = "../deploy/grafana/goapi.json"
	rulesFile     = "../deploy/prometheus/goapi.rules.yaml"
)

// query is a question in PromQL, and where it stands.
type query struct{ where, expr string }

// exposed is what metrics really say: for each name, the values of each label.
type exposed map[string]map[string]map[string]bool

// The dashboard and the alerts ask for nothing that there is not: neither a name
// nor a label, nor a value of one.
func TestDeployedQueries(t *testing.T) {
	known := exposeAll(t)
	for _, q := range append(dashboard(t), rules(t)...) {
		for _, problem := range known.check(q.expr) {
			t.Errorf("%s: %s: %s", q.where, problem, q.expr)
		}
	}
}

// What is exposed is looked at: by the dashboard, but for each single node.
func TestDashboardShowsEverything(t *testing.T) {
	var shown strings.Builder
	for _, q := range dashboard(t) {
		shown.WriteString(q.expr + "\n")
	}
	for name := range exposeAll(t) {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		switch {
		case !strings.HasPrefix(name, "goapi_"), strings.HasPrefix(name, "goapi_node_"),
			name == "goapi_config_last_reload_success_timestamp_seconds": // the one beside it says enough
		case !regexp.MustCompile(regexp.QuoteMeta(base) + `\b|` + regexp.QuoteMeta(base) + `_(bucket|sum|count)\b`).MatchString(shown.String()):
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// What needs somebody to act has an alert.
func TestAlerts(t *testing.T) {
	var watched strings.Builder
	for _, q := range rules(t) {
		watched.WriteString(q.expr + "\n")
	}
	for _, want := range []string{
		`goapi_requests_total{code=~"5.."`, "goapi_request_duration_seconds_bucket", `goapi_upstream_nodes{state="up"}`, `reason="shed"`, `reason="service_overloaded"`,
		"goapi_registry_away_seconds", "goapi_registry_source_snapshot", "goapi_broker_dead_letters_total", "goapi_broker_errors_total",
		"goapi_trace_spans_total", "goapi_access_log_lost_total", "goapi_connections_closed_total", "goapi_config_last_reload_successful", "process_open_fds",
	} {
		if !strings.Contains(watched.String(), want) {
			t.Errorf("no alert looks at %s", want)
		}
	}
}

func TestQueriesThatAreWrong(t *testing.T) {
	known := exposeAll(t)
	for _, expr := range []string{
		"goapi_request_total", `goapi_requests_total{status="200"}`, `goapi_errors_total{reason="none_such"}`,
		"sum by (path) (goapi_requests_total)", "sum by (le) (goapi_requests_total)", "goapi_request_duration_seconds",
	} {
		if len(known.check(expr)) == 0 {
			t.Errorf("check(%s) finds nothing wrong", expr)
		}
	}
}

// check returns what is wrong with a query.
func (known exposed) check(expr string) []string {
	var problems []string
	var labels []string // of all that it names
	selector := regexp.MustCompile(`\b((?:goapi|go|process)_[a-z0-9_]+)(\{[^}]*\})?`)
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		name, matchers := m[1], m[2]
		has, ok := known[name]
		if !ok {
			if !slices.Contains([]string{"go_version"}, name) { // which is a label
				problems = append(problems, "there is no "+name)
			}
			continue
		}
		for label := range has {
			labels = append(labels, label)
		}
		for _, m := range regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`).FindAllStringSubmatch(matchers, -1) {
			label, op, value := m[1], m[2], m[3]
			switch {
			case label == "instance":
			case has[label] == nil:
				problems = append(problems, name+" has no label "+label)
			case op == "=" && !strings.Contains(value, "$") && !has[label][value]:
				problems = append(problems, name+" has never "+label+"="+value)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if label = strings.TrimSpace(label); label != "instance" && !slices.Contains(labels, label) {
				problems = append(problems, "nothing in it has a label "+label)
			}
		}
	}
	return problems
}

// dashboard returns the queries of the dashboard.
func dashboard(t *testing.T) []query {
	t.Helper()
	b, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var all []query
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, query{"panel " + p.Title, target.Expr})
		}
	}
	for _, v := range d.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			all = append(all, query{"variable " + v.Name, "count by (" + m[2] + ") (" + m[1] + ")"})
		}
	}
	if len(all) < 40 {
		t.Fatalf("the dashboard has %d queries, want more", len(all))
	}
	return all
}

// rules returns the queries of the alerts, and what their texts say as further
// ones.
func rules(t *testing.T) []query {
	t.Helper()
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      struct{ Severity string }
				Annotations struct{ Summary, Description string }
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []query
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			where := "alert " + r.Alert
			if r.Alert == "" || r.Annotations.Summary == "" || r.Annotations.Description == "" || r.Labels.Severity != "page" && r.Labels.Severity != "ticket" {
				t.Errorf("%s is not complete", where)
			}
			all = append(all, query{where, r.Expr})
			for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(r.Annotations.Summary+r.Annotations.Description, -1) {
				if m[1] != "instance" {
					all = append(all, query{where, "sum by (" + m[1] + ") (" + r.Expr + ")"})
				}
				if strings.Contains(r.Expr, " by (") && !regexp.MustCompile(`by \([^)]*\b`+m[1]+`\b`).MatchString(r.Expr) {
					t.Errorf("%s says $labels.%s, which its query does not keep", where, m[1])
				}
			}
		}
	}
	return all
}

// exposeAll returns what a gateway exposes that has done everything once.
func exposeAll(t *testing.T) exposed {
	t.Helper()
	m := metrics.New(&metrics.Options{
		Certificates: func() map[string]time.Time { return map[string]time.Time{"edge.pem": time.Now()} },
		Nodes:        true, Spans: func() (sent, lost uint64) { return 1, 1 }, LogLost: func() uint64 { return 1 },
		Connections: func() (open, refused, floods int64) { return 3, 2, 1 },
	})
	reg := new(registry.Memory)
	if err := reg.Register(t.Context(), announce("a", "/a", "n1"), 0); err != nil {
		t.Fatal(err)
	}
	steady, pools := registry.NewSteady(reg, &registry.SteadyOptions{Name: "memory"}), upstream.NewPools(nil)
	live := router.NewLive(steady, pools, nil)
	m.Follow(live, pools, steady)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	defer func() {
		stop()
		<-done
	}()
	<-live.Ready()
	m.Ejected("a", upstream.Slow)
	_ = m.Broker(new(broker.Memory)).Publish(ctx, "a", &broker.Message{})
	retry := goapi.NewError(503, "", nil)
	retry.Header = http.Header{"Retry-After": {"1"}}
	for rt, errs := range map[*goapi.Route][]error{
		nil:              {goapi.ErrNoRoute, retry},
		route("a", "/a"): {nil, upstream.ErrOverloaded, upstream.ErrNoNodes, goapi.NewError(502, "", nil), &goapi.Error{ID: "a", Code: 500}},
	} {
		for _, err := range errs {
			h := m.Middleware(serve(func(w http.ResponseWriter, r *http.Request, ex *goapi.Exchange) {
				ex.Route, ex.Attempts, ex.Upstream = rt, 2, 1
				if err != nil {
					goapi.WriteError(w, r, err)
				}
			}))
			h.ServeHTTP(httptest.NewRecorder(), get1("/"))
		}
	}
	known := make(exposed)
	for series := range scrape(t, m) {
		name, labels, _ := strings.Cut(series, "{")
		if known[name] == nil {
			known[name] = make(map[string]map[string]bool)
		}
		for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(labels, -1) {
			if known[name][m[1]] == nil {
				known[name][m[1]] = make(map[string]bool)
			}
			known[name][m[1]][m[2]] = true
		}
	}
	return known
}
