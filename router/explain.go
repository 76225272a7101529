package router

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/resolver"
)

// maxCandidates bounds the candidates of an explanation.
const maxCandidates = 200

// An Explanation says how a table routes a request, and why not otherwise.
type Explanation struct {
	// Route serves the request; nil is none.
	Route *goapi.Route
	// Err is why there is none.
	Err error
	// Variables are those of the route's path, by name.
	Variables map[string]string
	// Candidates are the announced routes for the path: those that fit in the
	// order in which they are tried, then those that do not.
	Candidates []Candidate
	// More is how many candidates there are beyond those.
	More int
	// Targets are the readings of the resolver, in order. There are none where an
	// announced route has the path.
	Targets []TargetOutcome
}

// A Candidate is an announced route for the path of a request.
type Candidate struct {
	Listing

	// Won says that it serves the request.
	Won bool `json:"won"`
	// Reason is why it does, or why not.
	Reason string `json:"reason"`
}

// A TargetOutcome is what became of a reading of the resolver.
type TargetOutcome struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	Kind    string `json:"kind"`
	Won     bool   `json:"won"`
	Reason  string `json:"reason"`
}

// Explain says how the table routes a request, and sets its variables as Route
// does. It looks at every route, so it is for people, not for requests.
func (t *Table) Explain(r *http.Request) *Explanation {
	e := new(Explanation)
	e.Route, e.Err = t.Route(r)
	h, err := requestHost(r.Host)
	if err != nil {
		return e
	}
	path, err := requestPath(r.URL)
	if err != nil {
		return e
	}
	x := &explainer{table: t, request: r, host: h, path: path}
	x.sift()
	x.siftHidden()
	e.Candidates, e.More = x.candidates(e.Route)
	if e.Route != nil {
		e.Variables = x.variables(e.Route)
	}
	if len(x.fits) == 0 && !x.missed {
		e.Targets = x.targets()
	}
	return e
}

// explainer looks at every claim for one request.
type explainer struct {
	table   *Table
	request *http.Request
	host    host
	path    string

	fits   []*claim
	others []Candidate // that do not fit
	missed bool        // some are for another method
}

// among searches some claims alone. It goes the way that Route does, so that an
// explanation cannot say otherwise.
func (x *explainer) among(anyHost bool, claims ...*claim) (c *claim, missed bool) {
	alone := &Table{lineage: x.table.lineage}
	for _, c := range claims {
		host := c.host
		if anyHost {
			host = ""
		}
		alone.setTrie(alone.hasher, host, alone.trie(host).edit(alone.hasher, []edit{{c, c}}, 0))
	}
	s := search{table: alone, request: x.request, path: x.path, method: x.request.Method}
	c = alone.find(&s, x.host, preflight(x.request))
	return c, s.missed
}

// sift finds the claims for the path.
func (x *explainer) sift() {
	for _, s := range x.table.services.all() {
		for _, c := range s.claims {
			found, missed := x.among(false, c)
			switch {
			case found != nil:
				x.fits = append(x.fits, c)
				continue
			case missed:
				x.missed = true
				x.others = append(x.others, Candidate{Listing: c.listing(), Reason: "it is for " + c.method + " only"})
				continue
			case c.host == "":
				continue
			}
			if found, missed := x.among(true, c); found != nil || missed {
				x.others = append(x.others, Candidate{Listing: c.listing(), Reason: "it is for the host " + c.listing().Host + " only"})
			}
		}
	}
}

// siftHidden finds the claims for the path that would be there without
// expose=false.
func (x *explainer) siftHidden() {
	for _, s := range *x.table.latest.Load() {
		if len(x.others) > maxCandidates { // the rest is not shown
			return
		}
		whole, r := isHidden(s), x.table.reader(nil)
		for _, e := range s.Endpoints {
			if e == nil || !whole && !unexposed(e.Metadata) || metadataSize(e.Metadata) > maxMetadata {
				continue
			}
			claims, err := r.claims(goapi.DecodeEndpoint(e), maxEndpoints)
			if err != nil {
				continue // it would not be there either
			}
			for _, c := range claims {
				if found, missed := x.among(false, c); found == nil && !missed {
					continue
				}
				c.route.Service = s.Name
				reason := "the endpoint is hidden: expose=false"
				if whole {
					reason = "the service is hidden: expose=false"
				}
				x.others = append(x.others, Candidate{Listing: c.listing(), Reason: reason})
			}
		}
	}
}

// candidates returns those that fit in the order in which Route tries them,
// then the others.
func (x *explainer) candidates(serves *goapi.Route) (list []Candidate, more int) {
	var winner *claim
	left := make(map[*claim]bool, len(x.fits))
	for _, c := range x.fits {
		left[c] = true
		if c.route == serves {
			winner = c
		}
	}
	for len(left) > 0 && len(list) < maxCandidates {
		var remaining []*claim
		for _, c := range x.fits {
			if left[c] {
				remaining = append(remaining, c)
			}
		}
		next, _ := x.among(false, x.preferring(remaining, winner)...)
		if next == nil {
			break // a budget ended the search
		}
		delete(left, next)
		list = append(list, Candidate{Listing: next.listing(), Won: next == winner, Reason: x.reason(next, winner)})
	}
	room := min(len(x.others), maxCandidates-len(list))
	more = len(x.fits) - len(list) + len(x.others) - room
	return append(list, x.others[:room]...), more
}

// preferring returns the claims with those that hold their slot last, since of
// one slot the last is what a trie keeps.
func (x *explainer) preferring(claims []*claim, winner *claim) []*claim {
	var waiting, holding []*claim
	for _, c := range claims {
		if c != winner && x.contested(c) != nil {
			waiting = append(waiting, c)
		} else {
			holding = append(holding, c)
		}
	}
	return append(waiting, holding...)
}

// contested returns who has the slot that a claim waits for, or nil.
func (x *explainer) contested(c *claim) *claim {
	t := x.table
	if contest := t.contests.get(t.hasher, c.slot()); contest != nil && contest.holder != c {
		return contest.holder
	}
	return nil
}

// reason says why a claim that fits serves the request, or why not.
func (x *explainer) reason(c, winner *claim) string {
	switch holder := x.contested(c); {
	case c == winner && len(x.fits) == 1:
		return "it is the only one that fits"
	case c == winner:
		return "it is the most specific of those that fit"
	case holder != nil:
		return c.waitsFor(holder).Reason
	case x.table.waits(c):
		return c.crowdedOut().Reason
	case winner == nil:
		return "too many patterns are alike: the search ended before it"
	case c.host != winner.host:
		return "a route for the host goes first, or one for more of it"
	case c.pattern.shape() != winner.pattern.shape():
		return "the path " + printable(winner.pattern.text, 200) + " is more specific"
	}
	return "a route that names the method goes first"
}

// variables returns what Route has set on the request.
func (x *explainer) variables(rt *goapi.Route) map[string]string {
	values := make(map[string]string)
	for _, c := range x.fits {
		if c.route != rt {
			continue
		}
		for _, v := range c.pattern.variables {
			values[v.name] = x.request.PathValue(v.name)
		}
		if c.pattern.expr == nil {
			continue
		}
		for _, name := range c.pattern.expr.re.SubexpNames() {
			if name != "" {
				values[name] = x.request.PathValue(name)
			}
		}
	}
	return values
}

// targets returns the readings of the resolver up to the one that serves.
func (x *explainer) targets() []TargetOutcome {
	t := x.table
	if t.opts.Resolver == nil {
		return nil
	}
	asked := *x.request
	asked.Method = cmp.Or(preflight(x.request), x.request.Method)
	targets, err := t.opts.Resolver(&asked)
	if err != nil {
		return nil // Route says it
	}
	var outcomes []TargetOutcome
	for _, target := range targets {
		o, ends := x.outcome(target)
		outcomes = append(outcomes, o)
		if ends {
			break
		}
	}
	return outcomes
}

// outcome says what becomes of a reading, and whether Route looks no further.
func (x *explainer) outcome(target resolver.Target) (o TargetOutcome, ends bool) {
	t := x.table
	o = TargetOutcome{Service: target.Service, Method: target.Method, Kind: target.Kind.String()}
	svc := t.services.get(t.hasher, target.Service)
	switch {
	case svc == nil:
		o.Reason = "there is no such service"
		return o, false
	case svc.absent:
		o.Reason = "the service is hidden (expose=false), or has no node that can be used"
		return o, false
	}
	rt, err := svc.resolve(target, t.opts.Handler)
	var known *goapi.Error
	switch {
	case errors.As(err, &known):
		o.Reason = known.Detail
	case err != nil:
		o.Reason = err.Error()
	case rt == nil:
		o.Reason = "the service is not reached like that"
	default:
		o.Won, o.Reason = true, "it is the first reading that exists, served by "+rt.Endpoint.Handler
	}
	return o, rt != nil || err != nil
}
