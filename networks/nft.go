package networks

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is a rule's expressions: what it matches, then what it does.
type rule []expr.Any

// chain is a base chain and its rules.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   nftables.ChainPolicy
	rules    []rule
}

func filterChain(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) chain {
	return chain{name: name, kind: nftables.ChainTypeFilter, hook: hook, priority: priority, policy: nftables.ChainPolicyAccept}
}

func natChain(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) chain {
	return chain{name: name, kind: nftables.ChainTypeNAT, hook: hook, priority: priority, policy: nftables.ChainPolicyAccept}
}

func (c *chain) add(parts ...rule) { c.rules = append(c.rules, slices.Concat(parts...)) }

var (
	beforeFilter = nftables.ChainPriorityRef(*nftables.ChainPriorityFilter - 10)
	beforeDefrag = nftables.ChainPriorityRef(*nftables.ChainPriorityConntrackDefrag - 10)

	accept     = rule{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop       = rule{&expr.Verdict{Kind: expr.VerdictDrop}}
	masquerade = rule{&expr.Masq{}}
	notrack    = rule{&expr.Notrack{}}

	daddrLocal = local(expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true})
	saddrLocal = local(expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true})

	established = ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	translated  = ct(expr.CtKeySTATUS, 1<<5) // IPS_DST_NAT
)

func iif(op expr.CmpOp, link string) rule { return linkName(expr.MetaKeyIIFNAME, op, link) }
func oif(op expr.CmpOp, link string) rule { return linkName(expr.MetaKeyOIFNAME, op, link) }

func linkName(key expr.MetaKey, op expr.CmpOp, link string) rule {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return rule{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

func saddr(p netip.Prefix) rule    { return address(12, expr.CmpOpEq, p) }
func notSaddr(p netip.Prefix) rule { return address(12, expr.CmpOpNeq, p) }
func daddr(p netip.Prefix) rule    { return address(16, expr.CmpOpEq, p) }

// address compares the IPv4 address at an offset into the header.
func address(offset uint32, op expr.CmpOp, p netip.Prefix) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask(p.Bits()), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func l4proto(name string) (rule, error) {
	number, ok := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[name]
	if !ok {
		return nil, fmt.Errorf("unknown protocol %q", name)
	}
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}, nil
}

func dport(port uint16) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// dnat leads to an address and port. All is given that the kernel fills in, to
// compare with what it lists.
func dnat(to netip.Addr, port uint16) rule {
	return rule{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, Specified: true,
			RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2,
		},
	}
}

// local matches an address that is one of the host's own.
func local(address expr.Fib) rule {
	return rule{&address, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}
}

// ct matches a connection with any of the bits.
func ct(key expr.CtKey, bits uint32) rule {
	return rule{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func mask(bits int) []byte {
	return binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - bits))
}

// writeTable replaces the table of that name, or makes it, in one transaction.
func writeTable(name string, chains []chain) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	c.AddTable(table) // else removing it fails where there is none
	c.DelTable(table)
	c.AddTable(table)
	for _, ch := range chains {
		base := c.AddChain(&nftables.Chain{
			Name: ch.name, Table: table, Type: ch.kind, Hooknum: ch.hook, Priority: ch.priority, Policy: &ch.policy,
		})
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: base, Exprs: r})
		}
	}
	return c.Flush()
}

// removeTable removes the table of that name; none is not an error.
func removeTable(name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	c.AddTable(table)
	c.DelTable(table)
	return c.Flush()
}

// readTable is the table of that name as the kernel has it; false where there is none.
func readTable(name string) ([]chain, bool, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, false, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, false, fmt.Errorf("list nftables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name }) {
		return nil, false, nil
	}
	all, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, false, fmt.Errorf("list chains: %w", err)
	}
	var chains []chain
	for _, ch := range all {
		if ch.Table.Name != name {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, false, fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
		}
		have := chain{name: ch.Name, kind: ch.Type, hook: ch.Hooknum, priority: ch.Priority}
		if ch.Policy != nil {
			have.policy = *ch.Policy
		}
		for _, r := range rules {
			have.add(r.Exprs)
		}
		chains = append(chains, have)
	}
	return chains, true, nil
}

// sameChains says whether both say the same, in whatever order the chains come.
func sameChains(a, b []chain) bool {
	byName := func(a, b chain) int { return cmp.Compare(a.name, b.name) }
	a, b = slices.SortedFunc(slices.Values(a), byName), slices.SortedFunc(slices.Values(b), byName)
	return slices.EqualFunc(a, b, func(a, b chain) bool {
		return a.head() == b.head() && slices.EqualFunc(a.rules, b.rules, sameRule)
	})
}

func (c chain) head() string {
	if c.hook == nil || c.priority == nil {
		return c.name
	}
	return fmt.Sprint(c.name, c.kind, *c.hook, *c.priority, c.policy)
}

func sameRule(a, b rule) bool {
	return slices.EqualFunc(a, b, func(a, b expr.Any) bool {
		x, errX := expr.Marshal(unix.NFPROTO_IPV4, a)
		y, errY := expr.Marshal(unix.NFPROTO_IPV4, b)
		return errX == nil && errY == nil && bytes.Equal(x, y)
	})
}
