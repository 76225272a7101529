package admin

import (
	"net/http"
	"net/http/pprof"
)

// profiles serves the profiles of the running program below /debug/pprof/, for
// go tool pprof. The command line is none of them: it may hold passwords.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
