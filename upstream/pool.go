package upstream

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// Options adjust Pools. A nil *Options means all defaults.
type Options struct {
	// Logger gets the ejections of nodes and their ends. Default: none.
	Logger *slog.Logger
	// Policy returns what holds for a service where its routes say nothing. It
	// is asked when a service appears, and by [Pools.Refresh]; nil means all
	// defaults. Default: nil.
	Policy func(service string) *Policy
	// Probe returns how the nodes of a service are probed by Run, nil for not at
	// all. It is asked when a service appears, and by [Pools.Refresh]. Default:
	// none is probed.
	Probe func(service string) *Probe
	// Ejected is told of each ejection of a node. It is quick, and may be called by
	// several goroutines at a time. Default: nobody is told.
	Ejected func(service string, why Reason)
	// MaxProbes bounds the probes at a time. Default: 64.
	MaxProbes int
}

// maxProbes returns MaxProbes or its default.
func (o *Options) maxProbes() int {
	if o.MaxProbes > 0 {
		return o.MaxProbes
	}
	return 64
}

// Pools holds the Pool of every service. It may be used concurrently.
// Everything but probes, for which there is Run, works by itself.
type Pools struct {
	opts   Options
	log    *slog.Logger
	start  time.Time // the origin of all times within
	alarms sync.Pool // of *alarm

	mu     sync.Mutex
	pools  map[string]*Pool
	probed map[string]probed // those of pools that are
}

// NewPools returns Pools without any service. It starts nothing; but Pools keep
// timers to use them again, so a test with testing/synctest makes its own
// within the bubble.
func NewPools(opts *Options) *Pools {
	p := &Pools{log: slog.New(slog.DiscardHandler), start: time.Now(), pools: make(map[string]*Pool), probed: make(map[string]probed)}
	if opts != nil {
		p.opts = *opts
	}
	if p.opts.Logger != nil {
		p.log = p.opts.Logger
	}
	return p
}

// now returns the time since the start.
func (p *Pools) now() time.Duration { return time.Since(p.start) }

// Pool returns the pool of the named service, or nil.
func (p *Pools) Pool(name string) *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pools[name]
}

// Update brings the pool of the named service to what is announced, which is
// complete: every version, and every announcement of a version. It returns the
// pool, or nil when nothing is announced, which removes it.
//
// A node is known by its id and its address; the load and health of one that
// is still announced stay. Of nodes with one id the first counts, and nodes
// without an address are left out.
func (p *Pools) Update(name string, services []*registry.Service) *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[name]
	switch {
	case len(services) > 0 && pool == nil:
		pool = p.newPool(name)
		p.pools[name] = pool
	case len(services) == 0 && pool == nil:
		return nil
	case len(services) == 0:
		delete(p.pools, name)
		delete(p.probed, name)
		pool.update(nil)
		return nil
	}
	pool.update(services)
	return pool
}

// newPool returns an empty pool.
func (p *Pools) newPool(name string) *Pool {
	pool := &Pool{name: name, pools: p}
	pool.policy.Store(p.policyOf(name))
	p.probe(pool)
	pool.all.pool = pool
	return pool
}

// probe asks how the nodes of a pool are probed. The caller holds p.mu.
func (p *Pools) probe(pool *Pool) {
	delete(p.probed, pool.name)
	if p.opts.Probe == nil {
		return
	}
	if probe := p.opts.Probe(pool.name); probe != nil && probe.Prober != nil {
		p.probed[pool.name] = probed{pool, probe.orDefault()}
	}
}

// policyOf returns what holds for a service where its routes say nothing.
func (p *Pools) policyOf(name string) *Policy {
	policy := defaults()
	if p.opts.Policy != nil {
		*policy = p.opts.Policy(name).over(policy)
	}
	return policy
}

// Refresh asks [Options.Policy] and [Options.Probe] again, for all services.
func (p *Pools) Refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, pool := range p.pools {
		pool.policy.Store(p.policyOf(name))
		p.probe(pool)
	}
}

// Pool holds the nodes of one service, with their load and health. It may be
// used concurrently.
type Pool struct {
	name      string
	pools     *Pools
	policy    atomic.Pointer[Policy]
	budget    budget
	compared  review
	warmUntil atomic.Int64 // when the last slow start is over
	all       Set

	mu        sync.Mutex
	announced []announcement
	sets      map[string]*Set
}

// announcement is a service as one version announces it, and its nodes: a part
// of the pool's.
type announcement struct {
	service *registry.Service
	nodes   []*node
}

// All returns the Set of all nodes. It is the same one for as long as the pool
// exists.
func (p *Pool) All() *Set { return &p.all }

// Set returns the nodes whose announcement satisfies holds, and keeps it so
// with every Update. A key stands for one condition: while some announcement
// satisfies it, the same key returns the same Set, and holds is not looked at
// again. When an Update finds none that does, the pool forgets the Set. The Set
// keeps the nodes that it had last, for requests that were routed to it before.
//
// Holds is kept and must not change its mind about a service.
func (p *Pool) Set(key string, holds func(*registry.Service) bool) *Set {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sets[key]; s != nil {
		return s
	}
	s := &Set{pool: p, holds: holds}
	p.refresh(s)
	if p.sets == nil {
		p.sets = make(map[string]*Set)
	}
	p.sets[key] = s
	return s
}

// update brings the pool and its Sets to what is announced.
func (p *Pool) update(services []*registry.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(services) == 0 {
		p.announced, p.sets = nil, nil // the Sets keep their nodes
		return
	}
	old := p.all.list()
	known := make(map[string]*node, len(old))
	for _, n := range old {
		known[n.announced.Load().ID] = n
	}
	size := 0
	for _, s := range services {
		size += len(s.Nodes)
	}
	seen := make(map[string]struct{}, size)
	nodes := make([]*node, 0, size)
	p.announced = make([]announcement, 0, len(services))
	for _, s := range services {
		first := len(nodes)
		for _, rn := range s.Nodes {
			if rn == nil || rn.Address == "" {
				continue
			}
			if _, twice := seen[rn.ID]; twice {
				continue
			}
			seen[rn.ID] = struct{}{}
			nodes = append(nodes, p.keep(known[rn.ID], rn, len(old) > 0))
		}
		p.announced = append(p.announced, announcement{service: s, nodes: nodes[first:len(nodes):len(nodes)]})
	}
	p.all.nodes.Store(newRoster(nodes))
	for key, s := range p.sets {
		if !p.refresh(s) {
			delete(p.sets, key)
		}
	}
}

// keep returns the state of an announced node: the one known under its id, if
// it is at the same address. A node that joins others begins its slow start.
func (p *Pool) keep(known *node, rn *registry.Node, joins bool) *node {
	switch {
	case known == nil || known.announced.Load().Address != rn.Address:
		known = &node{seed: hashOf(rn.ID)}
		known.warming.Store(int64(-slowStart))
		if now := p.pools.now(); joins {
			known.warming.Store(int64(now))
			p.warm(now)
		}
	case known.announced.Load() == rn:
		return known
	}
	known.announced.Store(rn)
	known.traits.Store(traitsOf(rn))
	return known
}

// refresh brings a Set to what is announced. It says whether any announcement
// holds the Set's condition; if not, the Set stays as it is.
func (p *Pool) refresh(s *Set) bool {
	held := make([]*announcement, 0, 8)
	size := 0
	for i := range p.announced {
		if a := &p.announced[i]; s.holds(a.service) {
			held = append(held, a)
			size += len(a.nodes)
		}
	}
	if len(held) == 0 {
		return false
	}
	if len(held) == len(p.announced) { // nearly always: nothing of its own
		s.nodes.Store(p.all.nodes.Load())
		return true
	}
	nodes := make([]*node, 0, size)
	for _, a := range held {
		nodes = append(nodes, a.nodes...)
	}
	s.nodes.Store(newRoster(nodes))
	return true
}

// Static returns a Set of fixed addresses, each host:port, in Pools of its own.
// The id of a node is its address.
func Static(addresses ...string) *Set {
	s := &registry.Service{Name: "static"}
	for _, a := range addresses {
		s.Nodes = append(s.Nodes, &registry.Node{ID: a, Address: a})
	}
	return NewPools(nil).Update(s.Name, []*registry.Service{s}).All()
}

// A Set is the nodes of a Pool whose announcement holds a route's endpoint. It
// may be used concurrently. A nil Set is empty.
type Set struct {
	pool    *Pool
	nodes   atomic.Pointer[roster]
	longest longest // of the Set's answers
	holds   func(*registry.Service) bool
}

// roster returns the nodes of the Set as they are now, or nil.
func (s *Set) roster() *roster {
	if s == nil {
		return nil
	}
	return s.nodes.Load()
}

// list returns all nodes of the Set.
func (s *Set) list() []*node {
	if r := s.roster(); r != nil {
		return r.nodes
	}
	return nil
}

// Len returns how many nodes the Set has, ejected ones included.
func (s *Set) Len() int { return len(s.list()) }
