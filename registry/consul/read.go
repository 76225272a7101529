package consul

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

const (
	pathNames  = "/v1/catalog/services"
	pathChecks = "/v1/health/state/any"
	// pathService begins the path of what is told of one service.
	pathService = "/v1/health/service/"
)

// errUnreadable is for services that somebody gave a name which no URL carries.
var errUnreadable = errors.New("the agent cannot be asked about a service of this name")

// isRefused says whether an error concerns one question, and no other.
func isRefused(err error) bool {
	if answer, ok := errors.AsType[*answerError](err); ok {
		return answer.code == http.StatusBadRequest || answer.code == http.StatusNotFound || answer.code == http.StatusRequestURITooLong
	}
	return errors.Is(err, errUnreadable)
}

// read asks about each of names and puts the answers into a catalog, some at a
// time and in no order. It calls done, if that is not nil, for each of them and
// says whether it is news. After an error those that were
// done are in the catalog.
func (r *Registry) read(ctx context.Context, names []string, c *catalog, done func(name string, news bool)) error {
	type result struct {
		name  string
		data  []byte
		index uint64
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	todo, results := make(chan string), make(chan result)
	var readers sync.WaitGroup
	for range min(len(names), maxReaders) {
		readers.Go(func() {
			for name := range todo {
				res := result{name: name, err: errUnreadable}
				if readable(name) {
					res.data, res.index, res.err = r.agent.read(ctx, question{path: pathService + name})
				}
				results <- res
			}
		})
	}
	go func() { // ends when all are read, or with ctx
		defer close(results)
		defer readers.Wait()
		defer close(todo)
		for _, name := range names {
			select {
			case todo <- name:
			case <-ctx.Done():
				return
			}
		}
	}()
	var failed error
	for res := range results {
		var news bool
		switch {
		case isRefused(res.err):
			news, res.err = c.reject(res.name, res.err), nil
		case res.err == nil:
			news, res.err = c.set(res.name, res.data, res.index)
		}
		switch {
		case res.err == nil && done != nil:
			done(res.name, news)
		case res.err != nil && failed == nil:
			failed = res.err
			cancel() // the others would fail, too
		}
	}
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}
