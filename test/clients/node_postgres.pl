# node-postgres: checkout, webhook and version conflict, and an answer that is lost.
use strict;
use warnings;

use IPC::Run ();
use Test::More;

use lib 'test/lib';
use Clients;

my $shop = Clients::new_shop();
Clients::run_program($shop, 'node', 'with_node_postgres.js');
Clients::check_shop($shop);

# Between the program and the server now.
my $port = '';
my $proxy = IPC::Run::start([ 'test/clients/losing_proxy', '127.0.0.1', $shop->port ], '<', \undef, '>', \$port);
$proxy->pump until $port =~ /\n/;
Clients::run_program($shop, 'node', 'lost_answer.js', LOSING_PORT => $port);
$proxy->kill_kill;

$shop->stop;
done_testing();
