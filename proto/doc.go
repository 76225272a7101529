// Package proto holds the messages of go.api: a whole HTTP request as a method
// of a service gets it, a whole HTTP response as it answers, and an event.
//
// They are those of go-micro's own gateways, in name, number and JSON, so that
// services which were made for these take and answer them as they are. Texts
// are UTF-8: other bytes cannot travel in them.
//
// A program has one package go.api. One that links the messages of go-micro
// v1.18 to v5.0, or of go-api, uses those to serve a gateway that uses these.
package proto

//go:generate go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//go:generate protoc -I github.com/goapi-dev/goapi/proto=. --go_out=. --go_opt=module=github.com/goapi-dev/goapi/proto github.com/goapi-dev/goapi/proto/api.proto
