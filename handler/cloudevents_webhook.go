package handler

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
)

// maxHostName is the size of the longest name of a host.
const maxHostName = 253

// permit answers a sender of webhooks that asks for permission to send. That it
// asks to be called back for it is ignored: nobody is to choose whom the gateway
// calls.
func (h *cloudEvents) permit(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", http.MethodPost)
	if r.Header["Webhook-Request-Origin"] != nil {
		if err := h.checkWebhook(r); err != nil {
			return err
		}
		rate, err := h.rate(r.Header["Webhook-Request-Rate"])
		if err != nil {
			return err
		}
		w.Header().Set("Webhook-Allowed-Origin", r.Header.Get("Webhook-Request-Origin"))
		w.Header().Set("Webhook-Allowed-Rate", rate)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// checkWebhook returns an error for a request of a sender of webhooks that has no
// permission.
func (h *cloudEvents) checkWebhook(r *http.Request) error {
	senders := r.Header["Webhook-Request-Origin"]
	if len(senders) == 0 {
		return nil
	}
	sender := senders[0]
	if len(senders) > 1 || !isHostName(sender) {
		return badRequest("WebHook-Request-Origin is not one name of a host")
	}
	if !slices.ContainsFunc(h.senders, func(p string) bool { return matchHost(p, sender) }) {
		return goapi.NewError(http.StatusForbidden, "webhooks of "+quote(sender)+" are not allowed here", nil)
	}
	return nil
}

// isHostName says whether a text may be a name of a host, with a port or
// without.
func isHostName(text string) bool {
	return text != "" && len(text) <= maxHostName && strings.Trim(text,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:") == ""
}

// matchHost says whether a host is one that a pattern stands for.
func matchHost(pattern, host string) bool {
	pattern, host = strings.ToLower(pattern), strings.ToLower(host)
	if domain, ok := strings.CutPrefix(pattern, "*"); ok && (domain == "" || domain[0] == '.') {
		return strings.HasSuffix(host, domain) && len(host) > len(domain)
	}
	return host == pattern
}

// rate returns the rate that a sender gets which asks for one, or for none: "*"
// is any.
func (h *cloudEvents) rate(asked []string) (string, error) {
	allowed := h.maxRate
	if len(asked) > 0 {
		n, err := strconv.ParseUint(asked[0], 10, 31)
		if err != nil || n == 0 || len(asked) > 1 {
			return "", badRequest("WebHook-Request-Rate is no number of requests a minute")
		}
		if allowed > 0 {
			allowed = min(allowed, int(n))
		}
	}
	if allowed <= 0 {
		return "*", nil
	}
	return strconv.Itoa(allowed), nil
}
