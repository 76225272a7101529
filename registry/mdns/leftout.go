package mdns

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxOmissions bounds what is remembered of records that are left out.
	maxOmissions = 256
	// omissionLife is how long one is remembered that is not heard again.
	omissionLife = 2 * time.Minute
	// maxLogged bounds how many are logged in a minute.
	maxLogged = 60
)

// omissions are the records that were heard and left out. The zero value is
// empty and ready for use.
type omissions struct {
	log     *slog.Logger
	byKey   map[string]omission
	list    []registry.Omission
	changed bool
	logging budget
}

type omission struct {
	service, reason string
	heard           time.Time
}

// add notes why a record is left out, and logs it when that is new.
func (o *omissions) add(now time.Time, key, service, reason string) {
	old, ok := o.byKey[key]
	if !ok && len(o.byKey) >= maxOmissions {
		return
	}
	if o.byKey == nil {
		o.byKey = make(map[string]omission)
	}
	o.byKey[key] = omission{service, reason, now}
	if old.reason == reason {
		return
	}
	o.changed = true
	o.logging.rate, o.logging.burst = maxLogged/60, maxLogged
	if o.log != nil && o.logging.take(now, 1) {
		o.log.Warn("registry record left out", slog.String("record", key), slog.String("service", service), slog.String("reason", reason))
	}
}

// remove forgets a record.
func (o *omissions) remove(key string) {
	if _, ok := o.byKey[key]; ok {
		delete(o.byKey, key)
		o.changed = true
	}
}

// expire forgets what was not heard for long.
func (o *omissions) expire(now time.Time) {
	for key, om := range o.byKey {
		if now.Sub(om.heard) > omissionLife {
			o.remove(key)
		}
	}
}

// all returns these and others, ordered. The same slice is returned while these
// did not change and there are no others.
func (o *omissions) all(others []registry.Omission) []registry.Omission {
	if o.changed {
		o.changed = false
		o.list = make([]registry.Omission, 0, len(o.byKey))
		for key, om := range o.byKey {
			o.list = append(o.list, registry.Omission{Key: key, Service: om.service, Reason: om.reason})
		}
		sortOmissions(o.list)
	}
	if len(others) == 0 {
		return o.list
	}
	list := slices.Concat(o.list, others)
	sortOmissions(list)
	return list
}

func sortOmissions(list []registry.Omission) {
	slices.SortFunc(list, func(a, b registry.Omission) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Node, b.Node))
	})
}
