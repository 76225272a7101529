package router_test

import (
	"net/http"
	"testing"
)

func TestMethods(t *testing.T) {
	table := static(t, nil,
		service("s", "name=Get;path=/a;method=get", "name=Post;path=/a;method=POST,PUT", "name=Rest;path=/**;method=DELETE",
			"name=Head;path=/head;method=HEAD", "name=GetHead;path=/head;method=GET",
			"name=Any;path=/any", "name=AnyPost;path=/any;method=POST", "name=Options;path=/options;method=OPTIONS,GET",
			"name=Purge;path=/purge;method=PURGE"),
	)
	tests := []struct{ method, path, want string }{
		{"GET", "/a", "Get"},
		{"HEAD", "/a", "Get"},
		{"PUT", "/a", "Post"},
		{"DELETE", "/a", "Rest"},
		{"PATCH", "/a", "405 DELETE, GET, HEAD, POST, PUT"},
		{"get", "/a", "405 DELETE, GET, HEAD, POST, PUT"},
		{"OPTIONS", "/a", "405 DELETE, GET, HEAD, POST, PUT"},
		{"GET", "/b", "405 DELETE"},
		{"HEAD", "/head", "Head"},
		{"GET", "/head", "GetHead"},
		{"POST", "/any", "AnyPost"},
		{"GET", "/any", "Any"},
		{"HEAD", "/any", "Any"},
		{"OPTIONS", "/any", "Any"},
		{"OPTIONS", "/options", "Options"},
		{"PURGE", "/purge", "Purge"},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Method = tt.method
		if got := endpoint(table.Route(r)); got != tt.want {
			t.Errorf("Route(%s %s) = %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

// TestHandshake: a stream is reached by WebSocket, whatever method it names, and
// takes no other GET.
func TestHandshake(t *testing.T) {
	table := static(t, nil, service("s",
		"name=Chat;path=/chat/{room};method=POST;stream=true", "name=Page;path=/**;method=GET;handler=http",
		"name=Own;path=/own;method=POST;stream=true", "name=OwnGet;path=/own;method=GET",
		"name=Both;path=/any;method=PUT;stream=true", "name=Any;path=/any",
		"name=Unary;path=/unary;method=POST", "name=Proxy;path=/proxy;method=POST;stream=true;handler=http",
		"name=Expr;path=^/expr/[a-z]+$;method=POST;stream=true", "name=Verb;path=/a/{b}:talk;method=POST;stream=true",
	), service("t", "name=Only;path=/only;method=POST;stream=true;host=only.test"))
	tests := []struct{ method, target, upgrade, want string }{
		{"GET", "/chat/1", "websocket", "Chat"},
		{"GET", "/chat/1", "WebSocket", "Chat"},
		{"GET", "/chat/1", "h2c", "Page"},
		{"GET", "/chat/1", "", "Page"},
		{"POST", "/chat/1", "", "Chat"},
		{"PUT", "/chat/1", "websocket", "405 GET, HEAD, POST"},
		{"HEAD", "/chat/1", "websocket", "Page"},
		{"GET", "/own", "websocket", "OwnGet"},
		{"GET", "/any", "websocket", "Any"},
		{"GET", "/unary", "websocket", "Page"},
		{"GET", "/proxy", "websocket", "Page"},
		{"GET", "/expr/a", "websocket", "Expr"},
		{"GET", "/a/b:talk", "websocket", "Verb"},
		{"GET", "/a/b:walk", "websocket", "Page"},
	}
	for _, tt := range tests {
		r := get(tt.target)
		r.Method = tt.method
		r.Header.Set("Upgrade", tt.upgrade)
		if got := endpoint(table.Route(r)); got != tt.want {
			t.Errorf("Route(%s %s, Upgrade: %s) = %s, want %s", tt.method, tt.target, tt.upgrade, got, tt.want)
		}
	}
	r := get("/only")
	r.Host = "only.test"
	if got := endpoint(table.Route(r)); got != "Page" {
		t.Errorf("Route(GET only.test/only) = %s, want Page", got)
	}
	r.Header.Set("Upgrade", "websocket")
	if got := endpoint(table.Route(r)); got != "Only" {
		t.Errorf("Route(GET only.test/only, Upgrade: websocket) = %s, want Only", got)
	}
}

func TestPreflight(t *testing.T) {
	table := static(t, nil, service("s",
		"name=Get;path=/a;method=GET", "name=Any;path=/**", "name=Own;path=/own;method=OPTIONS", "name=Post;path=/own;method=POST"))
	tests := []struct{ path, asked, want string }{
		{"/a", "GET", "Get"},
		{"/a", "PUT", "Any"},
		{"/a", "", "Any"},
		{"/own", "POST", "Own"},
		{"/b", "DELETE", "Any"},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Method = http.MethodOptions
		r.Header.Set("Origin", "https://example.com")
		if tt.asked != "" {
			r.Header.Set("Access-Control-Request-Method", tt.asked)
		}
		if got := endpoint(table.Route(r)); got != tt.want {
			t.Errorf("Route(preflight of %s %s) = %s, want %s", tt.asked, tt.path, got, tt.want)
		}
	}
}
