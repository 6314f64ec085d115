# PgBouncer in transaction mode: a whole checkout through it, and what may not stay on a
# connection that the next client gets.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use Clients;

my $program = '/usr/sbin/pgbouncer';
my $shop = Clients::new_shop();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($major, $minor) = qx($program --version) =~ /(\d+)\.(\d+)/;
my $prepares = $major > 1 || $minor >= 21;

append_to_file("$dir/users", qq("web" ""\n));
append_to_file("$dir/pgbouncer.ini", <<"CONFIG");
[databases]
shop = host=127.0.0.1 port=@{[ $shop->port ]}
single = host=127.0.0.1 port=@{[ $shop->port ]} dbname=shop pool_size=1
[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
logfile = $dir/log
@{[ $prepares ? 'max_prepared_statements = 100' : '' ]}
CONFIG
my $bouncer = IPC::Run::start([ $program, "$dir/pgbouncer.ini" ], '<', \undef, '>', \my $out, '2>', \my $err);
OrderEngine::wait_for { !system_log('psql', '-X', '-q', '-h', '127.0.0.1', '-p', $port, '-U', 'web', '-d', 'shop', '-c', '') }
	'PgBouncer';

Clients::run_program($shop, 'python', 'with_psycopg.py', DATABASE_URL => "postgresql://web\@127.0.0.1:$port/shop");
Clients::check_shop($shop);
$shop->safe_psql('shop', q{SELECT order_engine.receive_stock('cup', 100)}, extra_params => [ '-U', 'shop_owner' ]);
Clients::run_program($shop, 'python', 'with_pgbouncer.py', DATABASE_URL => "postgresql://web\@127.0.0.1:$port/single",
	PGBOUNCER_PREPARES => $prepares ? 'yes' : '');

$bouncer->signal('TERM');
$bouncer->finish;
$shop->stop;
done_testing();
