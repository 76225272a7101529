package handler

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

// requestTopic returns the topic that a request is for, and the name of its
// event: what the route's endpoint says, or else what the path says.
func requestTopic(r *http.Request, namespace string) (topic, name string, err error) {
	if rt := goapi.RouteFrom(r.Context()); rt != nil && rt.Endpoint.Topic != "" {
		return rt.Endpoint.Topic, rt.Endpoint.Name, nil
	}
	return pathTopic(namespace, r.URL.EscapedPath())
}

// pathTopic returns the topic and the name in an escaped path: /topic/name, or
// /v1/topic/name, where the version is part of the topic. Names that are
// nested are joined with dots. The whole of an empty path is the namespace.
//
// That the name of /v1/foo/bar is foo.bar is how go-micro has it.
func pathTopic(namespace, escaped string) (topic, name string, err error) {
	words, err := pathWords(escaped)
	if err != nil {
		return "", "", err
	}
	if len(words) == 0 {
		return namespace, "event", nil
	}
	n := 1
	if len(words) > 1 && isVersion(words[0]) {
		n = 2
	}
	topic = strings.Join(words[:n], ".")
	if namespace != "" {
		topic = strings.TrimSuffix(namespace, ".") + "." + topic
	}
	return topic, strings.Join(words[1:], "."), nil
}

// pathWords returns the segments of an escaped path. A slash at its end means
// nothing. None is empty, or leads elsewhere.
func pathWords(escaped string) ([]string, error) {
	escaped = strings.TrimSuffix(strings.TrimPrefix(escaped, "/"), "/")
	if escaped == "" {
		return nil, nil
	}
	words := strings.Split(escaped, "/")
	for i, segment := range words {
		word, err := url.PathUnescape(segment)
		switch {
		case err != nil:
			return nil, badRequest("the path has a bad escape in " + quote(segment))
		case word == "":
			return nil, badRequest("the path has an empty segment; want /topic/name")
		case word == ".", word == "..": // more often an attack than a name
			return nil, badRequest("the path has a segment " + quote(word) + "; want /topic/name")
		case notUTF8(word):
			return nil, badRequest("the path is not UTF-8")
		}
		words[i] = word
	}
	return words, nil
}

// isVersion says whether a segment is v and digits.
func isVersion(segment string) bool {
	digits, ok := strings.CutPrefix(segment, "v")
	return ok && digits != "" && isDigits(digits)
}

// checkTopic returns the error that answers a request for a topic that no
// message can have, or nil.
func checkTopic(topic string) error {
	if topic == "" {
		return badRequest("the request names no topic; want a path of /topic")
	}
	if err := broker.CheckTopic(topic); err != nil {
		return refused(err)
	}
	return nil
}
