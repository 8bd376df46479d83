package networks

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
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

func saddr(p netip.Prefix) rule    { return address(source, expr.CmpOpEq, p) }
func notSaddr(p netip.Prefix) rule { return address(source, expr.CmpOpNeq, p) }
func daddr(p netip.Prefix) rule    { return address(destination, expr.CmpOpEq, p) }
func notDaddr(p netip.Prefix) rule { return address(destination, expr.CmpOpNeq, p) }

// end is whose address in a header it is.
type end int

const (
	source end = iota
	destination
)

// address compares an address in the header of its kind of IP (RFC 791, RFC 8200).
func address(of end, op expr.CmpOp, p netip.Prefix) rule {
	offset, length := uint32(12), uint32(4)
	if p.Addr().Is6() {
		offset, length = 8, 16
	}
	offset += uint32(of) * length
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask(p.Bits(), int(length)), Xor: make([]byte, length)},
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
	family := uint32(unix.NFPROTO_IPV4)
	if to.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return rule{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: family, Specified: true,
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

func mask(bits, length int) []byte { return net.CIDRMask(bits, 8*length) }

// table is the chains of a lab's table of one family. The tables of a lab have one name.
type table struct {
	family nftables.TableFamily
	chains []chain
}

// families are those that a lab may have a table of.
var families = []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}

// tablesOf are the host's tables of those families.
func tablesOf(c *nftables.Conn) ([]*nftables.Table, error) {
	var all []*nftables.Table
	for _, family := range families {
		some, err := c.ListTablesOfFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list nftables: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// writeTables puts these in the place of the tables of that name, in one transaction.
func writeTables(name string, tables []table) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	if err := deleteTables(c, name); err != nil {
		return err
	}
	for _, t := range tables {
		in := c.AddTable(&nftables.Table{Name: name, Family: t.family})
		for _, ch := range t.chains {
			base := c.AddChain(&nftables.Chain{
				Name: ch.name, Table: in, Type: ch.kind, Hooknum: ch.hook, Priority: ch.priority, Policy: &ch.policy,
			})
			for _, r := range ch.rules {
				c.AddRule(&nftables.Rule{Table: in, Chain: base, Exprs: r})
			}
		}
	}
	return c.Flush()
}

// removeTables removes the tables of that name; none is not an error.
func removeTables(name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	if err := deleteTables(c, name); err != nil {
		return err
	}
	return c.Flush()
}

// deleteTables adds to a transaction that the tables of that name go.
func deleteTables(c *nftables.Conn, name string) error {
	there, err := tablesOf(c)
	for _, t := range there {
		if t.Name == name {
			c.AddTable(t) // else removing it fails where it went meanwhile
			c.DelTable(t)
		}
	}
	return err
}

// readTables are the tables of that name as the kernel has them.
func readTables(name string) ([]table, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	there, err := tablesOf(c)
	if err != nil {
		return nil, err
	}
	var tables []table
	for _, t := range there {
		if t.Name != name {
			continue
		}
		chains, err := readChains(c, t)
		if err != nil {
			return nil, err
		}
		tables = append(tables, table{t.Family, chains})
	}
	return tables, nil
}

func readChains(c *nftables.Conn, in *nftables.Table) ([]chain, error) {
	all, err := c.ListChainsOfTableFamily(in.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var chains []chain
	for _, ch := range all {
		if ch.Table.Name != in.Name {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
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
	return chains, nil
}

// sameTables says whether both are of the same families and say the same.
func sameTables(a, b []table) bool {
	return slices.EqualFunc(a, b, func(a, b table) bool { return a.family == b.family && sameChains(a.chains, b.chains) })
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
