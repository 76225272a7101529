package upstream

import "time"

// Counts returns how many pools, Sets and nodes p holds.
func (p *Pools) Counts() (pools, sets, nodes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.pools {
		pool.mu.Lock()
		sets += len(pool.sets)
		nodes += len(pool.all.list())
		pool.mu.Unlock()
	}
	return len(p.pools), sets, nodes
}

// Shares says whether s keeps no list of nodes of its own.
func (s *Set) Shares() bool { return s.nodes.Load() == s.pool.all.nodes.Load() }

// SetLimit sets the adaptive limit of every node of s.
func (s *Set) SetLimit(limit int) {
	now := s.pool.pools.now()
	for _, n := range s.list() {
		n.limited().near.Store(int64(now + time.Hour)) // it is not forgotten
		n.limited().set(limit, now)
	}
}
